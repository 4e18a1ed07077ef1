"""Updates as integers on a grid that all sites share, so that a sum is exact in any order.

A site scales its update by its share, rounds it to the round's grid and sends the integers; the coordinator
adds the integers and divides by the share that answered. Start reading at `grid`.
"""
