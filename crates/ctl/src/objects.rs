//! `brindlectl get` of a source's objects, as they were read.

use anyhow::Result;
use brindle_model::cluster::{Service, Update};
use brindle_model::labels::Labels;
use brindle_sources::event::Changes;
use brindle_sources::object::Kind;
use brindle_sources::report::{ObjectReport, Place};
use serde::Serialize;

use crate::output::{self, Format};

/// Lists the objects of a kind.
///
/// # Errors
/// The list cannot be written in the format.
pub fn list(read: &Changes, kind: Kind, format: Format) -> Result<String> {
    if kind.has_status() { reported(read, kind, format) } else { plain(read, kind, format) }
}

/// An object with a status.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reported<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    name: &'a str,
    accepted: bool,
    has_effect: bool,
    /// Where it stands in a folder.
    #[serde(flatten)]
    place: Option<At>,
    revision: String,
    problems: Vec<String>,
}

/// A place in a folder.
#[derive(Debug, Serialize)]
struct At {
    file: String,
    document: u32,
    line: u32,
}

impl At {
    fn new(place: &Place) -> Self {
        let Place { file, document, line } = place;
        Self { file: file.display().to_string(), document: *document, line: *line }
    }
}

fn reported(changes: &Changes, kind: Kind, format: Format) -> Result<String> {
    let objects = changes.objects.iter().filter(|(key, _)| key.kind == kind);
    let objects: Vec<_> = objects
        .filter_map(|(key, report)| {
            let report: &ObjectReport = report.as_deref()?;
            Some(Reported {
                namespace: key.namespace.as_deref(),
                name: &key.name,
                accepted: report.is_accepted(),
                has_effect: report.has_effect,
                place: report.place.as_ref().map(At::new),
                revision: report.revision.to_string(),
                problems: report.problems.iter().map(ToString::to_string).collect(),
            })
        })
        .collect();
    output::render(format, &objects, || {
        let rows = objects.iter().map(|object| {
            let name = match object.namespace {
                Some(namespace) => format!("{namespace}/{}", object.name),
                None => object.name.to_owned(),
            };
            vec![
                name,
                match (object.has_effect, object.accepted) {
                    (false, _) => "not applied",
                    (true, true) => "yes",
                    (true, false) => "no",
                }
                .to_owned(),
                object
                    .place
                    .as_ref()
                    .map_or_else(String::new, |at| format!("{}:{}", at.file, at.line)),
                object.problems.join("; "),
            ]
        });
        output::table(&["NAME", "ACCEPTED", "FILE", "PROBLEMS"], rows)
    })
}

/// An object without a status.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Plain {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
    labels: std::collections::BTreeMap<String, String>,
}

fn plain(changes: &Changes, kind: Kind, format: Format) -> Result<String> {
    let objects: Vec<Plain> = changes
        .updates
        .iter()
        .filter_map(|update| match (kind, update) {
            (Kind::Namespace, Update::Namespace(name, Some(namespace))) => {
                Some(Plain::new(name, None, &[], &namespace.labels))
            }
            (Kind::Node, Update::Node(name, Some(node))) => {
                Some(Plain::new(name, None, &node.addresses, &node.labels))
            }
            (Kind::Pod, Update::Pod(id, Some(pod))) => {
                Some(Plain::new(id, pod.node.as_deref(), &pod.addresses, &pod.labels))
            }
            (Kind::ServiceAccount, Update::ServiceAccount(id, Some(account))) => {
                Some(Plain::new(id, None, &[], &account.labels))
            }
            (Kind::Service, Update::Service(id, Some(service))) => {
                let Service { cluster_ips, external_ips, load_balancer_ips, .. } = &**service;
                let addresses = [&cluster_ips[..], external_ips, load_balancer_ips].concat();
                Some(Plain::new(id, None, &addresses, &Labels::default()))
            }
            (Kind::EndpointSlice, Update::EndpointSlice(id, Some(slice))) => {
                let service = ("kubernetes.io/service-name", slice.service.clone());
                Some(Plain::new(id, None, &slice.addresses, &[service].into_iter().collect()))
            }
            _ => None,
        })
        .collect();
    output::render(format, &objects, || {
        let rows = objects.iter().map(|object| {
            let labels: Vec<_> = object.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let node = object.node.clone().unwrap_or_default();
            vec![object.name.clone(), node, object.addresses.join(", "), labels.join(" ")]
        });
        output::table(&["NAME", "NODE", "ADDRESSES", "LABELS"], rows)
    })
}

impl Plain {
    fn new(
        name: &impl ToString,
        node: Option<&str>,
        addresses: &[std::net::IpAddr],
        labels: &Labels,
    ) -> Self {
        Self {
            name: name.to_string(),
            node: node.map(Into::into),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            labels: labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        }
    }
}
