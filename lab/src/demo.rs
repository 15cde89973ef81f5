//! The demonstration, as a story in six parts. Each part checks what it shows: a demo that prints
//! a wrong matrix fails.

mod cleaning;
mod matrix;
mod policies;
mod story;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use brindle_lab::fabric::Fabric;

pub use cleaning::clean;

/// Folder of a lab with this name.
fn folder(name: &str) -> PathBuf {
    Path::new("/run").join(name)
}

/// Runs the whole story.
///
/// # Errors
/// A part of the lab failed, or something it showed was not as promised.
pub fn run(name: &str, keep: bool) -> Result<()> {
    let start = Instant::now();
    clean(name)?;
    let mut fabric = Fabric::build(name, &folder(name), 2).context("build the fabric")?;
    let pods = story::build(&fabric)?;
    story::show(&fabric, &pods)?;
    story::policies(&fabric, &pods)?;
    story::edit(&fabric, &pods)?;
    story::explain(&fabric)?;
    story::survive(&mut fabric, &pods)?;
    if keep {
        cleaning::leave(fabric, pods)?;
    } else {
        for pod in pods {
            pod.delete(&fabric)?;
        }
        drop(fabric);
        println!("\nEverything the demo made is removed.");
    }
    println!("Done in {:.1} s.", start.elapsed().as_secs_f64());
    Ok(())
}
