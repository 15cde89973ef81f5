//! What the operator is told on its command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Brindle's operator: says on how many nodes policies are enforced, and gives back the address
/// blocks of nodes that are gone.
#[derive(Clone, Debug, Parser)]
#[command(name = "brindle-operator", version)]
pub struct Options {
    /// The API server that this kubeconfig names; that of the cluster this runs in unless said.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of the Lease by which one operator leads.
    #[arg(long, default_value = "brindle-system")]
    pub namespace: String,
    /// Under which name this operator leads. Unique; a pod's name is.
    #[arg(long, env = "BRINDLE_OPERATOR_NAME")]
    pub name: String,
    /// How long after a Node object is gone its address blocks are given to others, such as 10m.
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub node_grace_period: Duration,
    /// Serve /metrics over TCP here while it leads.
    #[arg(long)]
    pub metrics_listen: Option<SocketAddr>,
    /// Log as JSON lines.
    #[arg(long)]
    pub log_json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: brindle_api::Duration =
        text.parse().map_err(|error: brindle_api::DurationError| error.to_string())?;
    Ok(Duration::from_secs(duration.seconds().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_period_has_a_unit() {
        let parse = |period: &str| {
            let line = ["brindle-operator", "--name", "a", "--node-grace-period", period];
            Options::try_parse_from(line).map(|options| options.node_grace_period)
        };
        assert_eq!(parse("1m30s").unwrap(), Duration::from_secs(90));
        assert!(parse("90").is_err());
    }
}
