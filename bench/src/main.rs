//! `kerntun-bench`: measures kerntun beside other tunnels and beside the limit of the machine.
//!
//! | file | what |
//! |---|---|
//! | `args` | the command line |
//! | `plan`, `run` | what is measured when, and doing it, round by round |
//! | `subject` | what can be measured: ours, the peers, the forwarder, the bare wire |
//! | `stage` | two network namespaces with a wire and a tunnel between them |
//! | `daemon`, `openvpn` | the processes that serve a tunnel |
//! | `forward` | the forwarder without cryptography, the limit to be compared with |
//! | `measure` | one measurement on a stage |
//! | `tcp`, `udp`, `echo` | the traffic |
//! | `primitives` | the ciphers by themselves |
//! | `handshake`, `hub`, `drain`, `noise`, `memory` | what a daemon does by itself |
//! | `cpu` | what the processors and processes have done |
//! | `results` | the file of results |
//! | `statistics`, `verdict` | medians, and which of the wanted ratios are reached |
//! | `machine`, `table`, `chart`, `report` | telling people |

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod args;
mod chart;
mod cpu;
mod daemon;
mod drain;
mod echo;
mod forward;
mod handshake;
mod hub;
mod machine;
mod measure;
mod memory;
mod noise;
mod openvpn;
mod plan;
mod primitives;
mod report;
mod results;
mod run;
mod stage;
mod statistics;
mod subject;
mod table;
mod tcp;
mod udp;
mod verdict;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    args::dispatch(args::Args::parse()).unwrap_or_else(|trouble| {
        eprintln!("{trouble}");
        ExitCode::FAILURE
    })
}
