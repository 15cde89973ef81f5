//! The demonstration, as a story in six parts. Each part checks what it shows: a demo that prints
//! a wrong matrix fails.

mod cleaning;
mod matrix;
mod policies;
mod story;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use brindle_lab::fabric::Fabric;

pub use cleaning::clean;

/// Prefix of every namespace of the demo.
const NAME: &str = "brindle-demo";

/// Runs the whole story.
///
/// # Errors
/// A part of the lab failed, or something it showed was not as promised.
pub fn run(dir: &Path, keep: bool) -> Result<()> {
    let start = Instant::now();
    clean(dir)?;
    let mut fabric = Fabric::build(NAME, dir, 2).context("build the fabric")?;
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
