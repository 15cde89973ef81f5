//! The agent's log on standard error, whose directives can be changed while it runs.

use std::error::Error;

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

/// The variable that says what is logged at the start.
const VARIABLE: &str = "RUST_LOG";

type Change = Box<dyn Fn(EnvFilter) -> Result<()> + Send + Sync>;

/// Changes what is logged.
pub struct Log(Change);

/// What `RUST_LOG` says, if it says anything.
pub fn from_environment() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|directives| !directives.trim().is_empty())
}

/// Starts the log: what `RUST_LOG` says, else `info`.
///
/// # Errors
/// `RUST_LOG` cannot be read, or there is a log already.
pub fn start(json: bool) -> Result<Log> {
    let directives = from_environment();
    let filter = filter(directives.as_deref().unwrap_or_default()).context("read RUST_LOG")?;
    let log = Subscriber::builder().with_env_filter(filter).with_writer(std::io::stderr);
    let failed = |error: Box<dyn Error + Send + Sync>| anyhow!("{error}").context("start the log");
    let change: Change = if json {
        let log = log.json().with_filter_reloading();
        let handle = log.reload_handle();
        log.try_init().map_err(failed)?;
        Box::new(move |filter| Ok(handle.reload(filter)?))
    } else {
        let log = log.with_ansi(false).with_filter_reloading();
        let handle = log.reload_handle();
        log.try_init().map_err(failed)?;
        Box::new(move |filter| Ok(handle.reload(filter)?))
    };
    Ok(Log(change))
}

impl Log {
    /// Logs by these directives from now on.
    ///
    /// # Errors
    /// They are none.
    pub fn set(&self, directives: &str) -> Result<()> {
        self.0(filter(directives)?)
    }
}

fn filter(directives: &str) -> Result<EnvFilter> {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .parse(directives)
        .context("read the log's directives")?
        // Each request that fails, while the API server is away for hours: the watches say so once.
        .add_directive("kube_client::client::builder=off".parse()?);
    Ok(filter)
}
