"""`jobsight report NAME`: ready analyses of the table `jobs`. `command` asks, `sql/` holds one statement a report."""
