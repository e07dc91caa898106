"""What each MSOS asset does: read inputs through registry and index, call the science, write products.

Nothing here knows Dagster; the command line and the assets call the same functions.
"""
