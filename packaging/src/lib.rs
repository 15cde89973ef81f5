//! What users install: the image and the manifest.
//!
//! [`layer`] and [`oci`] write OCI archives from files alone, reproducibly, without a container
//! tool; [`product`] says what is in Brindle's own image; [`manifest`] joins the kustomize base
//! under `manifests/` into the one file that `kubectl apply` takes; [`chart`] makes a Helm chart of the
//! same pieces; [`sbom`] lists what is linked into the image.

pub mod chart;
pub mod layer;
pub mod manifest;
pub mod oci;
pub mod product;
pub mod sbom;
