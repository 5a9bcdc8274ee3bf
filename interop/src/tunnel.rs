//! The ordinary tunnel: one peer on each side.

use crate::end::{End, Peer};
use crate::keys::base64;
use crate::program::Program;
use crate::site::{Family, Site};
use crate::traffic::echo::reach;
use std::net::SocketAddr;

/// The port of both sides.
pub const PORT: u16 = 51820;

/// Who knows where the other one is, and so can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// Only the left side.
    Left,
    /// Only the right side.
    Right,
    /// Both.
    Either,
}

/// How a tunnel is configured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Outside of the tunnel.
    pub outer: Family,
    /// Who knows where the other one is.
    pub initiator: Initiator,
    /// Whether there is a preshared key.
    pub preshared: bool,
    /// Of both interfaces, in bytes.
    pub mtu: u32,
    /// Of both sides, in seconds.
    pub keepalive: Option<u16>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { outer: Family::V4, initiator: Initiator::Either, preshared: false, mtu: 1420, keepalive: None }
    }
}

/// A site with a daemon on each side, whose interfaces have [`Family::inner`] addresses 1 and 2.
pub struct Tunnel {
    /// Address 1.
    pub left: End,
    /// Address 2.
    pub right: End,
    /// The cable.
    pub site: Site,
    families: &'static [Family],
}

impl Tunnel {
    /// Starts the daemons. They know nothing of each other yet.
    ///
    /// # Panics
    /// If one does not come up.
    #[must_use]
    pub fn new(left: Program, right: Program) -> Self {
        Self::on(Site::new(), &Family::BOTH, left, right)
    }

    /// As [`Tunnel::new`], where there is no IPv6.
    ///
    /// # Panics
    /// If one does not come up.
    #[must_use]
    pub fn without_ipv6(left: Program, right: Program) -> Self {
        Self::on(Site::without_ipv6(), &[Family::V4], left, right)
    }

    /// As [`Tunnel::new`], with environment variables for both daemons.
    ///
    /// # Panics
    /// If one does not come up.
    #[must_use]
    pub fn with_environment(left: Program, right: Program, environment: &[(&'static str, &'static str)]) -> Self {
        let site = Site::new();
        let left = End::start_with(&site.left, left, environment);
        let right = End::start_with(&site.right, right, environment);
        Self { left, right, site, families: &Family::BOTH }
    }

    /// Starts the daemons and configures them.
    ///
    /// # Panics
    /// If one does not come up.
    #[must_use]
    pub fn planned(left: Program, right: Program, plan: Plan) -> Self {
        let tunnel = Self::new(left, right);
        tunnel.configure(plan);
        tunnel
    }

    fn on(site: Site, families: &'static [Family], left: Program, right: Program) -> Self {
        let (left, right) = (End::start(&site.left, left), End::start(&site.right, right));
        Self { left, right, site, families }
    }

    /// Configures both sides from scratch: a handshake has to come before anything else.
    pub fn configure(&self, plan: Plan) {
        self.configure_left(plan);
        self.configure_right(plan);
    }

    /// Configures the left side from scratch.
    pub fn configure_left(&self, plan: Plan) {
        self.bring_up(&self.left, 1, plan);
        self.left.configure(PORT, &[self.right_peer(plan)]);
    }

    /// Configures the right side from scratch.
    pub fn configure_right(&self, plan: Plan) {
        self.bring_up(&self.right, 2, plan);
        self.right.configure(PORT, &[self.left_peer(plan)]);
    }

    fn bring_up(&self, end: &End, host: u8, plan: Plan) {
        let address =
            |family: &Family| format!("{}/{}", family.inner(host), if *family == Family::V4 { 24 } else { 64 });
        end.bring_up(&self.families.iter().map(address).collect::<Vec<_>>(), plan.mtu);
    }

    /// What the left side knows of the right one.
    #[must_use]
    pub fn right_peer(&self, plan: Plan) -> Peer {
        self.peer(&self.right, 2, plan, plan.initiator != Initiator::Right)
    }

    /// What the right side knows of the left one.
    #[must_use]
    pub fn left_peer(&self, plan: Plan) -> Peer {
        self.peer(&self.left, 1, plan, plan.initiator != Initiator::Left)
    }

    fn peer(&self, end: &End, host: u8, plan: Plan, known: bool) -> Peer {
        Peer {
            public_key: end.keys.public_text(),
            preshared_key: plan.preshared.then(|| base64(&[0x5a; 32])),
            endpoint: known.then(|| SocketAddr::new(plan.outer.outer(host), PORT)),
            allowed_ips: format!("{}/32, {}/128", Family::V4.inner(host), Family::V6.inner(host)),
            keepalive: plan.keepalive,
        }
    }

    /// A ping each way with every version of IP; the left side begins.
    ///
    /// # Panics
    /// If one stays without an answer.
    pub fn exchange(&self) {
        for family in self.families {
            reach(&self.site.left, family.inner(2));
            reach(&self.site.right, family.inner(1));
        }
    }
}
