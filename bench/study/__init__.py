"""What does federating gain? Local, federated, personal and pooled models under cross-validation.

A study and not the product: it brings several sites' images into one place and shows local models to other
sites, both of which a real federation never does. Training, rounding, admission, aggregation and evaluation
are the product's own.

`folds` splits, `arms` trains, `results` keeps, `report` tells; `python -m bench.study` runs all of it.
"""
