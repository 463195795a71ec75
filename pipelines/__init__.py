"""tf.data input pipelines: from recordings, text and series to padded, bucketed batches."""
