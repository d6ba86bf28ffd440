//! A guide: one page for each thing that has to be decided, or found out.
//!
//! - [Choosing a rule](choosing_a_rule)
//! - [Parameter groups](groups): by names, shapes and layers; freezing
//! - [Mixed precision](mixed_precision): what bf16 and f16 lose, and what to do about it
//! - [Memory](memory): what each byte of state is for
//! - [Checkpoints](checkpoints)
//! - [A run that diverges](diverging): a checklist
//! - [fallline in your wgpu runtime](wgpu_runtime): whose memory, whose encoder
//! - [fallline from JavaScript and C++](javascript): a step as data
//! - fallline in Burn: the documentation of the crate `fallline-burn`
//!
//! The crate's own page is about what an embedder has to know; [`schedule`](crate::schedule) about learning rates.

#[doc = include_str!("../../../../docs/rules.md")]
pub mod choosing_a_rule {}

#[doc = include_str!("groups.md")]
pub mod groups {}

#[doc = include_str!("mixed_precision.md")]
pub mod mixed_precision {}

#[doc = include_str!("memory.md")]
pub mod memory {}

#[doc = include_str!("checkpoints.md")]
pub mod checkpoints {}

#[doc = include_str!("diverging.md")]
pub mod diverging {}

#[doc = include_str!("wgpu.md")]
pub mod wgpu_runtime {}

#[doc = include_str!("javascript.md")]
pub mod javascript {}
