//! Writes the image and the joined manifest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use brindle_packaging::sbom::{self, Toolchain};
use brindle_packaging::{chart, manifest, product};
use clap::{Parser, Subcommand};
use sha2::{Digest as _, Sha256};

/// Writes what users install.
#[derive(Parser)]
struct Arguments {
    /// Which part.
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// The image, as an OCI archive, with its digest (`.sha256`, as `sha256sum -c` reads it) and its
    /// bill of materials (`.cdx.json`, CycloneDX) beside it.
    Image {
        /// The folder of the static programs.
        #[arg(long)]
        programs: PathBuf,
        /// The archive to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// `kustomization.yaml`, `brindle.yaml`, `brindle-operator.yaml` and the Helm chart, from the
    /// pieces beside them.
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
            let bill = sbom::bill(&sbom::metadata()?, &Toolchain::here()?, &digest)?;
            let bill = serde_json::to_string_pretty(&bill)? + "\n";
            for (extension, text) in [("sha256", checksum(&out)?), ("cdx.json", bill)] {
                let path = out.with_extension(format!("tar.{extension}"));
                fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
                println!("{}", path.display());
            }
        }
        Part::Manifests { folder } => {
            let made = [
                (manifest::LIST, manifest::list(&folder)?),
                (manifest::JOINED, manifest::join(&folder)?),
                (manifest::OPERATOR, manifest::join_operator(&folder)?),
            ];
            chart::write(&folder)?;
            for (name, text) in made {
                let path = folder.join(name);
                fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
                println!("{}", path.display());
            }
        }
    }
    Ok(())
}

/// A line for `sha256sum -c`, in the file's folder.
fn checksum(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let name = path.file_name().context("the archive has no name")?.to_string_lossy();
    Ok(format!("{digest}  {name}\n"))
}
