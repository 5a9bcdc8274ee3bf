//! What a seed stands for: how many devices, for how long, and what goes wrong.

use crate::journal::Primitives;
use crate::random::Random;
use std::fmt;

macro_rules! faults {
    ($($(#[$meta:meta])* $variant:ident = $name:literal;)*) => {
        /// Something that can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Fault { $($(#[$meta])* $variant,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

faults! {
    /// Datagrams are lost.
    Loss = "loss";
    /// Datagrams arrive twice.
    Duplication = "duplication";
    /// Datagrams overtake each other, some by seconds.
    Reordering = "reordering";
    /// A bit of a datagram flips.
    Corruption = "corruption";
    /// A datagram is cut short.
    Truncation = "truncation";
    /// A router marks or bleaches ECN.
    Marks = "marks";
    /// Some devices do not reach the others for a while.
    Partition = "partition";
    /// A device behind NAT appears at another address.
    Rebinding = "rebinding";
    /// The wall clock of a device is set, forward or back.
    WallStep = "wall-step";
    /// The monotonic clock of a device goes back a little.
    StepBack = "step-back";
    /// A device sleeps: its monotonic clock jumps; it may be told.
    Suspend = "suspend";
    /// A device starts anew; it may remember the greatest timestamp it sent, and have its clock set back.
    Restart = "restart";
    /// A device gets another private key, and its peers learn of it later.
    KeyChange = "key-change";
    /// A preshared key changes on one side, later on the other.
    PskChange = "psk-change";
    /// A peer is removed with packets in flight, and comes back.
    Removal = "removal";
    /// A prefix moves from one peer to another.
    Routes = "routes";
    /// An interface goes down and comes up.
    Down = "down";
    /// Junk and handshakes of strangers from spoofed addresses.
    Flood = "flood";
    /// Somebody replays, redirects and changes what was seen on the network.
    Attack = "attack";
    /// Hosts hold jobs back between the three calls.
    Holding = "holding";
    /// A host's randomness is not seeded for a while.
    Dry = "dry";
    /// A host is slow with handshakes, so that their queue fills.
    Slow = "slow";
}

/// A set of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults(pub u32);

impl Faults {
    /// Everything.
    pub const ALL: Self = Self((1 << Fault::ALL.len()) - 1);

    /// Whether `fault` happens.
    #[must_use]
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u8 != 0
    }

    /// The same without `fault`.
    #[must_use]
    pub const fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u8))
    }

    /// Reads names separated by commas.
    ///
    /// # Errors
    /// The name that is none.
    pub fn parse(names: &str) -> Result<Self, String> {
        let mut set = Self(0);
        for name in names.split(',').filter(|name| !name.is_empty() && *name != "none") {
            let fault = Fault::ALL.iter().find(|fault| fault.name() == name);
            set.0 |= 1 << *fault.ok_or_else(|| format!("there is no fault `{name}`"))? as u8;
        }
        Ok(set)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Fault::ALL.iter().filter(|fault| self.has(**fault)).map(|fault| fault.name()).collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join(",") }.as_str())
    }
}

/// Everything a simulation depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Source of all chance.
    pub seed: u64,
    /// Devices.
    pub nodes: usize,
    /// How long things go wrong, in seconds of virtual time.
    pub seconds: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Which primitives.
    pub primitives: Primitives,
}

impl Scenario {
    /// The scenario of `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x005c_e4a2_1000);
        let nodes = match random.below(100) {
            0..55 => 2,
            55..75 => 3,
            75..90 => random.between(4, 8) as usize,
            90..97 => random.between(9, 20) as usize,
            _ => random.between(21, 50) as usize,
        };
        let seconds = match nodes {
            2 | 3 => random.between(20, 400),
            4..=8 => random.between(20, 250),
            _ => random.between(20, 80),
        };
        let faults = match random.below(4) {
            0 => Faults::ALL,
            1 => Faults(random.word() as u32 & random.word() as u32 & Faults::ALL.0),
            _ => Faults(random.word() as u32 & Faults::ALL.0),
        };
        // Real cryptography in a fiftieth of the runs, small ones.
        let primitives = if random.below(50) == 0 && nodes <= 3 { Primitives::Real } else { Primitives::Fake };
        Self { seed, nodes, seconds, faults, primitives }
    }

    /// The arguments that repeat it.
    #[must_use]
    pub fn arguments(&self) -> String {
        let own = Self::of(self.seed);
        let mut arguments = format!("--seed {}", self.seed);
        if self.nodes != own.nodes {
            arguments += &format!(" --nodes {}", self.nodes);
        }
        if self.seconds != own.seconds {
            arguments += &format!(" --seconds {}", self.seconds);
        }
        if self.faults != own.faults {
            arguments += &format!(" --faults {}", self.faults);
        }
        if self.primitives != own.primitives {
            arguments += if self.primitives == Primitives::Real { " --real" } else { " --fake" };
        }
        arguments
    }
}
