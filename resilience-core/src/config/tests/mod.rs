mod change;
mod figures;
mod files;
mod given;
mod keyed;
mod spans;
