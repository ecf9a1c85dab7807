//! See the crate's description; the content lands with the first slice.
