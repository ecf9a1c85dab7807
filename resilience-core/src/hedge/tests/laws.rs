//! The race against a model that knows everything beforehand.
