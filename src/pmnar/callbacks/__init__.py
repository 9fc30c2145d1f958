"""What watches a run from above its method: tables, detection, classes that are lost, the bar."""
