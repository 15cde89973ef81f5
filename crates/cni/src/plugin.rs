//! The plugin: from the runtime's words to the agent's, and back.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::fstatfs;
use serde::Serialize;
use serde_json::json;

use crate::config::{NetworkConfig, decode_config, decode_version};
use crate::environment::{Command, Environment};
use crate::error::{CniError, ErrorCode};
use crate::protocol::{
    AddRequest, CheckRequest, ContainerInterface, DelRequest, GcRequest, Outcome, PodName, Request,
};
use crate::result::AddResult;
use crate::version::SpecVersion;

mod agent;

/// Longest configuration that is read, bytes.
pub const MAX_STDIN: usize = 1 << 20;

/// What the plugin says to the runtime.
#[derive(Debug)]
pub struct Output {
    /// For stdout.
    pub stdout: String,
    /// Whether the exit status is 0.
    pub success: bool,
}

/// Runs one command. The answer to any input is a result or an error, in the runtime's version of
/// the specification as far as it could be read.
pub fn run(variable: impl Fn(&str) -> Option<OsString>, stdin: io::Result<&[u8]>) -> Output {
    let mut version = SpecVersion::LATEST;
    let result = stdin
        .map_err(|e| CniError::caused(ErrorCode::Io, "cannot read the configuration", &e))
        .and_then(|stdin| execute(variable, stdin, &mut version));
    match result {
        Ok(stdout) => Output { stdout, success: true },
        Err(error) => Output { stdout: word_error(version, &error), success: false },
    }
}

fn execute(
    variable: impl Fn(&str) -> Option<OsString>,
    stdin: &[u8],
    version: &mut SpecVersion,
) -> Result<String, CniError> {
    let environment = Environment::read(variable)?;
    let command = environment.command()?;
    let serve: fn(&Environment, &NetworkConfig) -> Result<String, CniError> = match command {
        Command::Version => return Ok(word(&supported_versions(stdin))),
        Command::Add => add,
        Command::Del => del,
        Command::Check => check,
        Command::Gc => gc,
        Command::Status => status,
    };
    if stdin.len() > MAX_STDIN {
        let message = format!("the network configuration is longer than {MAX_STDIN} bytes");
        return Err(CniError::new(ErrorCode::Decode, message));
    }
    *version = decode_version(stdin)?;
    let config = decode_config(stdin)?;
    expect_command(command, config.version)?;
    serve(&environment, &config)
}

fn expect_command(command: Command, version: SpecVersion) -> Result<(), CniError> {
    let since = match command {
        Command::Add | Command::Del | Command::Version => SpecVersion::V0_3_1,
        Command::Check => SpecVersion::V0_4_0,
        Command::Gc | Command::Status => SpecVersion::V1_1_0,
    };
    if version >= since {
        return Ok(());
    }
    let message = format!("{} needs cniVersion {since} or later", command.as_str());
    Err(CniError::new(ErrorCode::IncompatibleVersion, message))
}

fn add(environment: &Environment, config: &NetworkConfig) -> Result<String, CniError> {
    if config.previous.is_some() {
        let message = "`prevResult` is set: the plugin makes the pod's interface, so it must be \
                       the first of its list";
        return Err(CniError::new(ErrorCode::InvalidConfig, message));
    }
    let (target, pod) = (target(environment)?, environment.pod()?);
    let path = environment.netns()?;
    let netns = open_netns(&path)?;
    let request = Request::Add(AddRequest {
        network: config.name.clone(),
        target,
        pod: PodName { namespace: pod.namespace, name: pod.name, uid: pod.uid },
        mtu: config.mtu,
    });
    let added = match agent::ask(&config.socket, request, Some(netns.as_fd()))? {
        Outcome::Added(added) => added,
        outcome => return Err(unexpected(&outcome)),
    };
    Ok(word(&AddResult::new(config.version, &added, environment.interface()?, &path)))
}

/// Needs neither the namespace nor the pod: both may be long gone.
fn del(environment: &Environment, config: &NetworkConfig) -> Result<String, CniError> {
    let request = Request::Del(DelRequest { target: target(environment)? });
    expect_done(agent::ask(&config.socket, request, None)?)
}

fn check(environment: &Environment, config: &NetworkConfig) -> Result<String, CniError> {
    let target = target(environment)?;
    let netns = open_netns(&environment.netns()?)?;
    let Some(addresses) = config.previous.clone() else {
        return Err(CniError::new(ErrorCode::InvalidConfig, "CHECK needs `prevResult`"));
    };
    let request = Request::Check(CheckRequest { target, addresses });
    expect_done(agent::ask(&config.socket, request, Some(netns.as_fd()))?)
}

fn gc(_: &Environment, config: &NetworkConfig) -> Result<String, CniError> {
    let Some(valid) = config.valid_attachments.clone() else {
        let message = "GC needs `cni.dev/valid-attachments`";
        return Err(CniError::new(ErrorCode::InvalidConfig, message));
    };
    let request = Request::Gc(GcRequest { network: config.name.clone(), valid });
    expect_done(agent::ask(&config.socket, request, None)?)
}

fn status(_: &Environment, config: &NetworkConfig) -> Result<String, CniError> {
    // "Try again later" is no answer to "can you serve?".
    let unavailable = |error: CniError| match error.code {
        ErrorCode::TryAgainLater => CniError { code: ErrorCode::NotAvailable, ..error },
        _ => error,
    };
    expect_done(agent::ask(&config.socket, Request::Status, None).map_err(unavailable)?)
}

fn target(environment: &Environment) -> Result<ContainerInterface, CniError> {
    let container_id = environment.container_id()?.to_owned();
    Ok(ContainerInterface { container_id, interface: environment.interface()?.to_owned() })
}

fn open_netns(path: &Path) -> Result<File, CniError> {
    /// `NSFS_MAGIC` of linux/magic.h.
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    let shown = path.display();
    let netns = File::open(path).map_err(|e| {
        let message = format!("CNI_NETNS {shown} cannot be opened; is the pod still there?");
        CniError::caused(ErrorCode::InvalidEnvironment, message, &e)
    })?;
    match fstatfs(&netns) {
        Ok(stat) if stat.f_type as u64 == NSFS_MAGIC => Ok(netns),
        _ => {
            let message = format!("CNI_NETNS {shown} is not a network namespace");
            Err(CniError::new(ErrorCode::InvalidEnvironment, message))
        }
    }
}

fn expect_done(outcome: Outcome) -> Result<String, CniError> {
    match outcome {
        Outcome::Done => Ok(String::new()),
        outcome => Err(unexpected(&outcome)),
    }
}

fn unexpected(outcome: &Outcome) -> CniError {
    let kind = match outcome {
        Outcome::Added(_) => "added",
        Outcome::Done => "done",
        Outcome::Failed(error) => return error.clone(),
    };
    CniError::new(ErrorCode::Internal, format!("the agent's answer `{kind}` does not fit"))
}

/// VERSION answers in the version asked for, also if that is not spoken.
fn supported_versions(stdin: &[u8]) -> serde_json::Value {
    let asked = serde_json::from_slice::<serde_json::Value>(stdin).ok();
    let asked = asked.as_ref().and_then(|object| object.get("cniVersion")?.as_str());
    json!({
        "cniVersion": asked.unwrap_or(SpecVersion::LATEST.as_str()),
        "supportedVersions": SpecVersion::ALL,
    })
}

fn word_error(version: SpecVersion, error: &CniError) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Worded<'a> {
        cni_version: SpecVersion,
        #[serde(flatten)]
        error: &'a CniError,
    }
    word(&Worded { cni_version: version, error })
}

fn word(value: &impl Serialize) -> String {
    // Strings, numbers and lists of them can always be written.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
