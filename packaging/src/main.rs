//! Writes the image and the joined manifest.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use brindle_packaging::{manifest, product};
use clap::{Parser, Subcommand};

/// Writes what users install.
#[derive(Parser)]
struct Arguments {
    /// Which part.
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// The image, as an OCI archive.
    Image {
        /// The folder of the static programs.
        #[arg(long)]
        programs: PathBuf,
        /// The archive to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// `kustomization.yaml`, `brindle.yaml` and `brindle-operator.yaml`, from the pieces beside them.
    Manifests {
        /// That folder.
        #[arg(long)]
        folder: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().part {
        Part::Image { programs, out } => {
            let name = product::name();
            let digest = product::image(&programs)?.write(&out, std::slice::from_ref(&name))?;
            println!("{name}@{digest} in {}", out.display());
        }
        Part::Manifests { folder } => {
            let made = [
                (manifest::LIST, manifest::list(&folder)?),
                (manifest::JOINED, manifest::join(&folder)?),
                (manifest::OPERATOR, manifest::join_operator(&folder)?),
            ];
            for (name, text) in made {
                let path = folder.join(name);
                fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
                println!("{}", path.display());
            }
        }
    }
    Ok(())
}
