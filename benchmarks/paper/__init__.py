"""`trocar paper`: the paper's protocol on one data set, from annotated sequences to a report."""
