mod laws;
mod rules;
#[cfg(feature = "tokio")]
mod task;
