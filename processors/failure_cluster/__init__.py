"""Clusters of failures from the rows of jobs."""

from processors.failure_cluster.config import FailureClusterConfig
from processors.failure_cluster.processor import FailureCluster

__all__ = ["FailureCluster", "FailureClusterConfig"]
