"""The visible table of kinds: by what name a run file asks for a stage."""

KINDS = {  # name -> module and class, a `models.compress.stage.Stage`
    "prune.sfp": ("models.compress.sfp", "SoftFilterPruning"),
    "factorise.musco": ("models.compress.musco", "Musco"),
    "train.svd": ("models.compress.svd_training", "SvdTraining"),
    "reduce.ron": ("models.compress.ron", "Ron"),
    "binarise": ("models.compress.binary_stage", "Binarise"),
    "distil": ("models.compress.distil", "Distil"),
    "quantise.int8": ("models.compress.int8", "Int8"),
}
