//! Brindle's own image: four static programs and nothing else.

use std::path::Path;

use anyhow::Result;

use crate::layer::Layer;
use crate::oci::{Image, Start};

/// The name under which manifests ask for the image, without its tag.
pub const REPOSITORY: &str = "brindle.io/brindle";

/// The name with the version of this build.
pub fn name() -> String {
    format!("{REPOSITORY}:v{}", env!("CARGO_PKG_VERSION"))
}

/// The image of the static programs in `programs`.
///
/// # Errors
/// One is missing.
pub fn image(programs: &Path) -> Result<Image> {
    let mut layer = Layer::default();
    for program in ["brindle-agent", "brindle-cni", "brindle-operator", "brindlectl"] {
        layer.program(program, &programs.join(program))?;
    }
    let start = Start { entrypoint: vec!["/brindle-agent".to_owned()], ..Start::default() };
    Image::new(layer, start)
}
