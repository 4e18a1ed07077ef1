"""What a hostile coordinator could learn of a hospital, tried by attack: `python -m bench.privacy_audit`.

Each attack is a module of its own: what it decides is pure, what it does to the product's own code stands
beside it. `settings` is the ladder of protections that all are tried against, `releases` what a coordinator
holds under one of them, `report` what it means in words.
"""
