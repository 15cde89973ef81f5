//! Metrics: the status in OpenMetrics text. Values are read when they are asked for, so there is no
//! second book to keep.

use std::fmt;

use brindle_model::admin::{NodeStatus, TableStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The text.
///
/// # Errors
/// A value could not be formatted.
pub fn render(status: &NodeStatus) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("brindle");
    registry.register_collector(Box::new(Snapshot(status.clone())));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot(NodeStatus);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.0;
        let generation = |g: Option<brindle_model::ruleset::Generation>| g.map_or(0, |g| g.0);
        let gauges = [
            ("ready", "Whether the first complete ruleset is enforced", u64::from(status.ready)),
            ("generation_compiled", "Last compiled generation", generation(status.generation)),
            ("generation_applied", "Last enforced generation", generation(status.applied)),
            ("endpoints", "Endpoints of this node", status.compiled.endpoints as u64),
            ("programs", "Programs of its endpoints", status.compiled.programs as u64),
            ("policies", "Compiled policies", status.compiled.policies as u64),
            ("sets", "Compiled sets", status.compiled.sets as u64),
            ("set_members", "Members of all sets", status.compiled.members as u64),
            ("bgp_peers", "BGP neighbours", status.bgp.peers as u64),
            ("bgp_peers_established", "Established sessions", status.bgp.established as u64),
            ("bgp_prefixes_originated", "Announced prefixes", status.bgp.originated as u64),
            ("bgp_prefixes_learned", "Prefixes with a best path", status.bgp.learned as u64),
            ("connections_judged", "Connections of pods", status.connections.judged as u64),
            ("connections_revoked", "Those that are stopped", status.connections.revoked as u64),
            ("ipam_blocks", "Address blocks of this node", status.blocks as u64),
            ("ipam_addresses", "Addresses held by pods", status.addresses as u64),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counters = [
            ("connections_passes", "Times that they were judged", status.connections.passes),
            ("connections_failures", "Times that it failed", status.connections.failures),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        type Read = fn(&TableStatus) -> u64;
        let counters: [(&str, &str, Read); 6] = [
            ("table_commits", "Commits that went through", |table| table.commits),
            ("table_writes", "Kernel objects written", |table| table.writes),
            ("table_resyncs", "Read-backs that went through", |table| table.resyncs),
            ("table_drifted", "Kernel objects somebody else changed", |table| table.drifted),
            ("table_repairs", "Times others' changes were undone", |table| table.repairs),
            ("table_failures", "Commits and read-backs that failed", |table| table.failures),
        ];
        for (name, help, read) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            self.each_table(&mut family, |table, encoder| {
                ConstCounter::new(read(table)).encode(encoder)
            })?;
        }
        let help = "Whether the last commit of a table went through";
        let mut family =
            encoder.encode_descriptor("table_running", help, None, MetricType::Gauge)?;
        self.each_table(&mut family, |table, encoder| {
            ConstGauge::new(u64::from(table.state == "running")).encode(encoder)
        })
    }
}

impl Snapshot {
    fn each_table(
        &self,
        family: &mut MetricEncoder<'_>,
        encode: impl Fn(&TableStatus, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        [&self.0.dataplane, &self.0.routes].into_iter().try_for_each(|table| {
            encode(table, family.encode_family(&[("table", table.name.as_str())])?)
        })
    }
}

#[cfg(test)]
mod tests {
    use brindle_model::admin::{BgpSummary, CompiledStatus, ConnectionsStatus};

    use super::*;

    #[test]
    fn every_value_shows() {
        let table = |name: &str, writes| TableStatus {
            name: name.to_owned(),
            state: "running".to_owned(),
            writes,
            ..TableStatus::default()
        };
        let status = NodeStatus {
            node: "n1".into(),
            version: String::new(),
            pid: 1,
            source: String::new(),
            uptime_seconds: 0.0,
            ready: true,
            problems: Vec::new(),
            generation: None,
            applied: None,
            compiled: CompiledStatus { endpoints: 7, ..CompiledStatus::default() },
            dataplane: table("nftables", 12),
            routes: table("routes", 3),
            connections: ConnectionsStatus { revoked: 4, ..ConnectionsStatus::default() },
            bgp: BgpSummary::default(),
            blocks: 0,
            addresses: 0,
            resident_kib: 0,
        };
        let text = render(&status).unwrap();
        for line in [
            "brindle_ready 1",
            "brindle_endpoints 7",
            "brindle_connections_revoked 4",
            "brindle_table_writes_total{table=\"nftables\"} 12",
            "brindle_table_writes_total{table=\"routes\"} 3",
            "brindle_table_running{table=\"routes\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }
}
