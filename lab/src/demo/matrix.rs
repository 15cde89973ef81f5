//! Who reaches whom: a matrix of real connections.

use anyhow::Result;

use brindle_lab::pod::Pod;
use brindle_lab::probe::{Kind, Probe, Rig};

/// The ports that are tried.
pub const PORTS: [u16; 2] = [80, 5432];

/// `cells[from][to][port]`: reached over IPv4, over IPv6.
pub type Cells = Vec<Vec<[[bool; 2]; 2]>>;

/// Tries every pair of pods on every port over both families.
///
/// # Errors
/// The rig failed; a silent packet is a result, not a failure.
pub fn measure(pods: &[Pod]) -> Result<Cells> {
    let namespaces: Vec<&str> = pods.iter().map(|p| p.netns.name()).collect();
    let mut rig = Rig::new(&namespaces, &PORTS)?;
    let mut probes = Vec::new();
    for (from, source) in pods.iter().enumerate() {
        for target in pods {
            for port in PORTS {
                for v6 in [false, true] {
                    let (source, destination) = (source.address(v6)?, target.address(v6)?);
                    probes.push(Probe { from, source, destination, kind: Kind::Tcp(port) });
                }
            }
        }
    }
    let mut delivered = rig.run(&probes)?.into_iter();
    let mut next = || delivered.next().unwrap_or(false);
    let row = |next: &mut dyn FnMut() -> bool| {
        pods.iter().map(|_| [[next(), next()], [next(), next()]]).collect::<Vec<_>>()
    };
    Ok(pods.iter().map(|_| row(&mut next)).collect())
}

/// Prints the matrix: a row a source, a column a destination, a mark a port.
pub fn print(pods: &[Pod], cells: &Cells) {
    let label = |pod: &Pod| format!("{}/{}", pod.namespace, pod.name);
    println!(
        "    from \\ to    {}",
        pods.iter().map(|p| format!("{:<14}", label(p))).collect::<String>()
    );
    for (pod, row) in pods.iter().zip(cells) {
        let marks: String = row
            .iter()
            .enumerate()
            .map(|(to, ports)| {
                let marks: Vec<String> = PORTS
                    .iter()
                    .zip(ports)
                    .map(|(port, families)| format!("{port}{}", mark(*families)))
                    .collect();
                let own = pods[to].name == pod.name && pods[to].namespace == pod.namespace;
                format!("{:<14}", if own { "·".to_owned() } else { marks.join(" ") })
            })
            .collect();
        println!("    {:<13}{marks}", label(pod));
    }
    println!("    (✓ reached over IPv4 and IPv6, ✗ over neither, 4 or 6 only over that one)");
}

fn mark([v4, v6]: [bool; 2]) -> &'static str {
    match (v4, v6) {
        (true, true) => "✓",
        (false, false) => "✗",
        (true, false) => "4",
        (false, true) => "6",
    }
}
