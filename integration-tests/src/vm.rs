//! Other kernels than this machine's: a Debian kernel in a virtual machine, with programs of this
//! machine inside (deps-and-kernel.md §4.5, decision 0050).
//!
//! ```text
//! apt sources ─> [debian] packages ─> kernel, modules ┐
//! programs, their libraries ─> [initramfs] ───────────┴─> [machine] qemu ─> what each task said
//!                                                            └ init.rs carries out the tasks
//! ```

pub mod debian;
pub mod initramfs;
pub mod machine;
pub mod modules;
pub mod task;
