//! What is written reads back as what it was.

mod common;

use common::Rng;
use kerntun_config::{
    Address, AllowedIp, Config, Endpoint, Hook, Host, HostName, Interface, Key, Parser, Peer, PublicKey, Scope,
    ScopedIp, SearchDomain, Table, TableName,
};
use std::net::IpAddr;

fn ip(rng: &mut Rng) -> IpAddr {
    let bytes = rng.bytes();
    match rng.below(4) {
        0 | 1 => IpAddr::from(<[u8; 4]>::try_from(&bytes[..4]).unwrap()),
        2 => IpAddr::from(<[u8; 16]>::try_from(&bytes[..16]).unwrap()),
        // Many zeros: '::' and forms with an embedded IPv4 address.
        _ => IpAddr::from(std::array::from_fn::<u8, 16, _>(|i| if rng.chance(2) { 0 } else { bytes[i] })),
    }
}

fn prefix(rng: &mut Rng, ip: IpAddr) -> u8 {
    rng.below(if ip.is_ipv4() { 33 } else { 129 }) as u8
}

fn scoped(rng: &mut Rng) -> ScopedIp {
    let ip = ip(rng);
    let scope = (ip.is_ipv6() && rng.chance(3)).then(|| Scope::new(rng.pick(&["eth0", "3", "wg-a.5"])).unwrap());
    ScopedIp { ip, scope }
}

fn option<T>(rng: &mut Rng, value: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.chance(2).then(|| value(rng))
}

fn list<T>(rng: &mut Rng, value: impl Fn(&mut Rng) -> T) -> Vec<T> {
    (0..rng.below(4)).map(|_| value(rng)).collect()
}

fn hook(rng: &mut Rng) -> Hook {
    Hook::new(rng.pick(&["ip route", "a = b; [x]", "[ -e /x ] && y='z'", "échö \"%i\"", "=", "x,y\tz", "[Peer]"]))
        .unwrap()
}

fn config(rng: &mut Rng) -> Config {
    let tables =
        [Table::Auto, Table::Off, Table::Id(0), Table::Id(u32::MAX), Table::Name(TableName::new("main").unwrap())];
    let interface = Interface {
        private_key: option(rng, |rng| Key::from_bytes(rng.bytes())),
        listen_port: option(rng, |rng| rng.next() as u16),
        fwmark: option(rng, |rng| if rng.chance(3) { 0 } else { rng.next() as u32 }),
        addresses: list(rng, |rng| {
            let ip = ip(rng);
            Address::new(ip, prefix(rng, ip)).unwrap()
        }),
        dns: list(rng, scoped),
        dns_search: list(rng, |rng| SearchDomain::new(rng.pick(&["example.com", "~lan", "a_b-c"])).unwrap()),
        mtu: option(rng, |rng| 68 + rng.below(65535 - 67) as u16),
        table: tables[rng.below(tables.len())].clone(),
        save_config: rng.chance(2),
        pre_up: list(rng, hook),
        post_up: list(rng, hook),
        pre_down: list(rng, hook),
        post_down: list(rng, hook),
    };
    let peers = list(rng, |rng| Peer {
        public_key: PublicKey::from_bytes(rng.bytes()),
        preshared_key: option(rng, |rng| Key::from_bytes(rng.bytes())),
        allowed_ips: list(rng, |rng| {
            let ip = ip(rng);
            AllowedIp::new(ip, prefix(rng, ip)).unwrap()
        }),
        endpoint: option(rng, |rng| Endpoint {
            host: if rng.chance(2) {
                Host::Ip(scoped(rng))
            } else {
                Host::Name(HostName::new(rng.pick(&["vpn.example.com", "x", "a-b_c.", "1.2.3.4.example"])).unwrap())
            },
            port: (rng.next() as u16).max(1),
        }),
        persistent_keepalive: option(rng, |rng| if rng.chance(3) { 0 } else { rng.next() as u16 }),
    });
    Config { interface, peers }
}

#[test]
fn parsing_what_was_written_gives_the_same() {
    let mut rng = Rng(1);
    for _ in 0..20_000 {
        let config = config(&mut rng);
        let text = config.to_text();
        let parsed = Parser::new("x").parse(text.as_bytes());
        assert_eq!(parsed.config.as_ref(), Some(&config), "{}\n{:#?}", text.as_str(), parsed.diagnostics);
    }
}

#[test]
fn stripping_keeps_what_wg_knows_and_nothing_else() {
    let mut rng = Rng(2);
    for _ in 0..2_000 {
        let mut config = config(&mut rng);
        let stripped = Parser::new("x").parse(config.strip().as_bytes()).config.unwrap();
        let all = config.interface;
        config.interface = Interface {
            private_key: all.private_key,
            listen_port: all.listen_port,
            fwmark: all.fwmark,
            ..Interface::default()
        };
        assert_eq!(stripped, config);
    }
}

#[test]
fn the_text_of_a_whole_configuration() {
    let text = "\
[Interface]
Address = 192.0.2.1/32
DNS = 9.9.9.9
MTU = 1420
Table = 4242
SaveConfig = true
PreUp = echo pre %i
PreDown = echo down \"%i\"
ListenPort = 41414
FwMark = off
PrivateKey = GFyGhZzTFSFVHFNG/hVALH9E/rzQSTBRD4jaHSUMG3o=

[Peer]
PublicKey = gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=
AllowedIPs = 198.51.100.0/24
Endpoint = [2001:db8::5%eth0]:51820
PersistentKeepalive = off
";
    let (_, saved) = common::corpus().into_iter().find(|(name, _)| name == "saved.conf").unwrap();
    assert_eq!(String::from_utf8(saved).unwrap(), text);
    let config = Parser::new("saved.conf").parse(text.as_bytes()).config.unwrap();
    assert_eq!(config.to_text().as_str(), text);
    assert_eq!(
        config.strip().as_str(),
        "\
[Interface]
ListenPort = 41414
FwMark = off
PrivateKey = GFyGhZzTFSFVHFNG/hVALH9E/rzQSTBRD4jaHSUMG3o=

[Peer]
PublicKey = gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=
AllowedIPs = 198.51.100.0/24
Endpoint = [2001:db8::5%eth0]:51820
PersistentKeepalive = off
"
    );
}
