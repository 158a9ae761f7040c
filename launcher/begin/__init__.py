"""The first hour: what this cluster has, a first site file or config from it, and the configs that ship."""
