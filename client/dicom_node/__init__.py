"""The site as a DICOM application entity: who may send here, what, and where it is put.

pynetdicom does the protocol. `node.DicomNode` is what others use: it receives instances by C-STORE, keeps
each as a file in a spool and hands it to whoever runs the node. `client.pacs` uses the same spool for C-GET.
"""
