//! fallline in Burn, on a GPU. One binary with one device: Burn's belongs to the process.
//!
//! Models are element-wise: what multiplies matrices is tuned for minutes on a GPU in software.

mod clones;
mod common;
mod configs;
mod learner;
mod losses;
mod modules;
mod options;
mod order;
mod records;
mod refused;
