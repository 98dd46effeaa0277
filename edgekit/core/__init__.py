"""The vocabulary everything else speaks. Imports no ML package and no other room of edgekit."""
