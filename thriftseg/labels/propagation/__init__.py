"""Labels of annotated frames carried over to their neighbours."""
