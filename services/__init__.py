"""Moorage: a berth for every repository. Each sub-package is one process, or what all of them share."""
