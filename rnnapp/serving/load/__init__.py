"""Load tests of a model server: how many requests it answers, and how long they take."""
