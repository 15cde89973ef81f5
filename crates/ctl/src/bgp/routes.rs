//! `brindlectl bgp routes`: a table of routes.

use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::output::{self, Format};

/// Body of `/debug/bgp/routes`.
#[derive(Debug, Deserialize)]
struct Routes {
    routes: Vec<Route>,
    left_off: usize,
}

#[derive(Debug, Deserialize)]
struct Route {
    prefix: IpNet,
    peer: Option<String>,
    next_hop: Option<IpAddr>,
    as_path: String,
    local_pref: Option<u32>,
    med: Option<u32>,
    communities: Vec<String>,
    used: bool,
    note: Option<String>,
}

/// Writes a table of routes; `*` marks those in use.
///
/// # Errors
/// The answer has another shape, or cannot be written in the format.
pub fn render(value: &Value, format: Format) -> Result<String> {
    let list = Routes::deserialize(value).context("the agent's answer about routes")?;
    output::render(format, value, || table(&list))
}

fn table(list: &Routes) -> String {
    let rows = list.routes.iter().map(|route| {
        let number = |value: Option<u32>| value.map_or(String::new(), |value| value.to_string());
        vec![
            if route.used { "*" } else { "-" }.to_owned(),
            route.prefix.to_string(),
            route.peer.clone().unwrap_or_else(|| "this node".into()),
            route.next_hop.map_or(String::new(), |address| address.to_string()),
            route.as_path.clone(),
            number(route.local_pref),
            number(route.med),
            route.communities.join(" "),
            route.note.clone().unwrap_or_default(),
        ]
    });
    let header =
        ["USED", "PREFIX", "PEER", "NEXT HOP", "AS PATH", "PREF", "MED", "COMMUNITIES", "NOTE"];
    let mut text = output::table(&header, rows);
    if list.left_off > 0 {
        text += &format!("{} more; --limit shows them\n", list.left_off);
    }
    text
}
