//! What must happen, one hazard at a time, on the engine's public face.

mod cancel;
mod crash;
mod data;
mod forward;
mod panics;
mod scale;
mod start;
mod store;
mod undo;
mod world;
