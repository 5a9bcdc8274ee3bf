//! Tunnels between the `kerntun` program, `wireguard-go` and itself, in network namespaces.
//!
//! | file | what |
//! |---|---|
//! | `matrix` | both roles, IPv4 and IPv6 outside and inside, preshared keys, sizes, bulk transfers |
//! | `life` | sessions that outlive something: new keys, new addresses, new ports, and what a restart leaves |
//! | `configuration` | `wg` and `wg-quick` as they are |
//! | `daemon` | how the program starts and ends |
//! | `paths` | the network under the tunnel: small, broken, link-local; and the interface on top of it |
//! | `packets` | what happens to single packets: order, ECN, source addresses, marks, loops, unreachable |
//! | `floods` | strangers who send as fast as they can |
//! | `idle` | what the daemon takes while nothing happens |
//! | `hostile`, `requests` | strangers who send rubbish to the network, and rubbish on the configuration socket |

mod configuration;
mod daemon;
mod floods;
mod hostile;
mod idle;
mod life;
mod matrix;
mod packets;
mod paths;
mod requests;
