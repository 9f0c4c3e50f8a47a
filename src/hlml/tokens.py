"""The first four numbers of every vocabulary: what data, models and decoding agree upon."""

PAD, BEGIN, END, UNKNOWN = range(4)
