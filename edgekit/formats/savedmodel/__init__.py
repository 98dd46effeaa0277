"""SavedModel folders: scanned, and the graph behind one signature read with its variables; no object is built."""
