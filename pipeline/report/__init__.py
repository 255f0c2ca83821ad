"""`jobsight report NAME`: ready analyses of the table `jobs`.

`command` asks, `sql/` holds the statements, `workflow` puts jobs together into trees.
"""
