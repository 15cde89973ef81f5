//! What is measured: our speaker, or BIRD.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use anyhow::{Context, Result, bail};
use brindle_lab::process::wait_until;

use super::{Lab, PATIENCE, address};

/// The AS of what is measured.
pub const OUR_AS: u32 = 65_010;
/// The AS of the sink.
pub const SINK_AS: u32 = 65_500;
/// Lines of the child that wait to be read, at most.
const LINES: usize = 64;

/// The AS of a sender.
pub fn sender_as(sender: usize) -> u32 {
    66_000 + u32::try_from(sender).unwrap_or(0)
}

/// What it has to do.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// Neighbours that tell of routes.
    pub senders: usize,
    /// Whether these are clients of a route reflector, in its AS.
    pub reflector: bool,
    /// Whether one more gets them all.
    pub sink: bool,
    /// Whether routes go to the kernel.
    pub kernel: bool,
    /// Say when so many prefixes have a path from each sender, and when none has any more.
    pub expect: usize,
}

/// A running process; it ends with this.
pub struct Subject {
    process: Child,
    lines: Option<Receiver<String>>,
}

impl Subject {
    /// Our speaker, in a process of its own.
    ///
    /// # Errors
    /// It does not listen.
    pub fn speaker(lab: &Lab, plan: &Plan) -> Result<Self> {
        let own = std::env::current_exe().context("who am I")?;
        let mut command = lab.dut.command(own.to_str().context("a path that is not UTF-8")?);
        command.arg(super::child::ARGUMENT).arg(serde_json::to_string(plan)?);
        let mut process = command.stdout(Stdio::piped()).spawn().context("start the speaker")?;
        let output = BufReader::new(process.stdout.take().context("no output")?);
        let (sender, lines) = sync_channel(LINES);
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut subject = Self { process, lines: Some(lines) };
        subject.line("listening")?;
        Ok(subject)
    }

    /// BIRD.
    ///
    /// # Errors
    /// It is not installed, or does not listen.
    pub fn bird(lab: &Lab, plan: &Plan) -> Result<Self> {
        let (config, socket) = (lab.dir.join("bird.conf"), lab.dir.join("bird.ctl"));
        std::fs::write(&config, configuration(plan)?)?;
        // A socket that is there says that the one before still runs.
        let _ = std::fs::remove_file(&socket);
        let mut command = lab.dut.command("bird");
        command.arg("-f").arg("-c").arg(&config).arg("-s").arg(&socket);
        let process =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("BIRD")?;
        let subject = Self { process, lines: None };
        wait_until(PATIENCE, "BIRD to answer", || {
            let mut asked = Command::new("birdc");
            Ok(asked.arg("-s").arg(&socket).args(["show", "status"]).output()?.status.success())
        })?;
        Ok(subject)
    }

    /// Its routes in the kernel, as `ip` names them.
    pub fn protocol(&self) -> &'static str {
        if self.lines.is_some() { "98" } else { "bird" }
    }

    /// Waits for a line of the speaker.
    ///
    /// # Errors
    /// It does not come.
    pub fn line(&mut self, wanted: &str) -> Result<()> {
        let lines = self.lines.as_ref().context("BIRD says nothing")?;
        match lines.recv_timeout(PATIENCE) {
            Ok(line) if line == wanted => Ok(()),
            Ok(other) => bail!("{other:?} instead of {wanted:?}"),
            Err(RecvTimeoutError::Timeout) => bail!("no {wanted:?} in time"),
            Err(RecvTimeoutError::Disconnected) => bail!("the speaker ended before {wanted:?}"),
        }
    }

    /// Waits until it has nothing more to do.
    ///
    /// # Errors
    /// It is gone, or goes on and on.
    pub fn settle(&mut self) -> Result<()> {
        let mut last = f64::NAN;
        wait_until(PATIENCE, "the process to come to rest", || {
            let before = std::mem::replace(&mut last, self.cpu()?);
            std::thread::sleep(std::time::Duration::from_millis(100));
            Ok(before == last)
        })
    }

    /// Processor time so far, seconds.
    ///
    /// # Errors
    /// It is gone.
    pub fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields = stat.rsplit_once(')').context("no name")?.1;
        let ticks: Vec<f64> = fields.split_whitespace().filter_map(|f| f.parse().ok()).collect();
        // After the name and the state: ppid is the first number; utime and stime the 11th and 12th.
        let ticks = ticks.get(10..12).context("no times")?.iter().sum::<f64>();
        Ok(ticks / 100.0)
    }

    /// Resident memory, MiB.
    ///
    /// # Errors
    /// It is gone.
    pub fn memory(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(plan: &Plan) -> Result<String> {
    let mut text = "router id 10.99.0.1;\nprotocol device {}\n".to_owned();
    if plan.kernel {
        text += "protocol kernel { merge paths on; ipv4 { import none; export all; }; }\n";
    }
    let senders = (0..plan.senders).map(|i| (i, sender_as(i), "none"));
    let sink = plan.sink.then_some((plan.senders, SINK_AS, "all"));
    for (number, asn, export) in senders.chain(sink) {
        let (asn, export, more) = match plan.reflector {
            true => (OUR_AS, "all", "rr client; "),
            false => (asn, export, ""),
        };
        writeln!(
            text,
            "protocol bgp {{ local 10.99.0.1 as {OUR_AS}; neighbor {} as {asn}; passive; {more}\
             ipv4 {{ import all; export {export}; }}; }}",
            address(number)
        )?;
    }
    Ok(text)
}
