//! The words of the format, and which one a misspelt word was meant to be.

/// A kind of section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Interface,
    Peer,
}

impl Section {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Interface => "[Interface]",
            Self::Peer => "[Peer]",
        }
    }

    /// The section a header without white space and in lower case opens.
    pub(crate) fn find(header: &str) -> Option<Self> {
        match header {
            "[interface]" => Some(Self::Interface),
            "[peer]" => Some(Self::Peer),
            _ => None,
        }
    }

    /// The section a wrong header was meant to open.
    pub(crate) fn suggest(header: &str) -> Option<Self> {
        let word: String = header.chars().filter(char::is_ascii_alphabetic).take(MAX_WORD).collect();
        match word.as_str() {
            "server" | "local" | "device" | "wireguard" => return Some(Self::Interface),
            "client" | "remote" | "peers" => return Some(Self::Peer),
            _ => {}
        }
        [(Self::Interface, "interface"), (Self::Peer, "peer")]
            .into_iter()
            .find(|(_, name)| distance(&word, name) <= name.len() / 3)
            .map(|(section, _)| section)
    }
}

/// A key of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    PrivateKey,
    ListenPort,
    FwMark,
    Address,
    Dns,
    Mtu,
    Table,
    PreUp,
    PostUp,
    PreDown,
    PostDown,
    SaveConfig,
    PublicKey,
    PresharedKey,
    AllowedIps,
    Endpoint,
    PersistentKeepalive,
}

impl Keyword {
    pub(crate) const COUNT: usize = Self::ALL.len();

    const ALL: [Self; 17] = [
        Self::PrivateKey,
        Self::ListenPort,
        Self::FwMark,
        Self::Address,
        Self::Dns,
        Self::Mtu,
        Self::Table,
        Self::PreUp,
        Self::PostUp,
        Self::PreDown,
        Self::PostDown,
        Self::SaveConfig,
        Self::PublicKey,
        Self::PresharedKey,
        Self::AllowedIps,
        Self::Endpoint,
        Self::PersistentKeepalive,
    ];

    /// The spelling of the manual pages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PrivateKey => "PrivateKey",
            Self::ListenPort => "ListenPort",
            Self::FwMark => "FwMark",
            Self::Address => "Address",
            Self::Dns => "DNS",
            Self::Mtu => "MTU",
            Self::Table => "Table",
            Self::PreUp => "PreUp",
            Self::PostUp => "PostUp",
            Self::PreDown => "PreDown",
            Self::PostDown => "PostDown",
            Self::SaveConfig => "SaveConfig",
            Self::PublicKey => "PublicKey",
            Self::PresharedKey => "PresharedKey",
            Self::AllowedIps => "AllowedIPs",
            Self::Endpoint => "Endpoint",
            Self::PersistentKeepalive => "PersistentKeepalive",
        }
    }

    pub(crate) const fn section(self) -> Section {
        match self {
            Self::PublicKey | Self::PresharedKey | Self::AllowedIps | Self::Endpoint | Self::PersistentKeepalive => {
                Section::Peer
            }
            _ => Section::Interface,
        }
    }

    /// Whether wg-quick handles this key itself, instead of handing the line to `wg setconf`.
    pub(crate) const fn is_quick(self) -> bool {
        matches!(
            self,
            Self::Address
                | Self::Dns
                | Self::Mtu
                | Self::Table
                | Self::PreUp
                | Self::PostUp
                | Self::PreDown
                | Self::PostDown
                | Self::SaveConfig
        )
    }

    /// Whether every further line adds to the ones before, instead of replacing them.
    pub(crate) const fn adds_up(self) -> bool {
        matches!(
            self,
            Self::Address | Self::Dns | Self::AllowedIps | Self::PreUp | Self::PostUp | Self::PreDown | Self::PostDown
        )
    }

    pub(crate) const fn is_secret(self) -> bool {
        matches!(self, Self::PrivateKey | Self::PresharedKey)
    }

    /// Finds a key by its exact name, in any case.
    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keyword| keyword.name().eq_ignore_ascii_case(name))
    }

    /// The key a wrong name was meant to be. Keys of the section at hand win over equally near ones of the other.
    pub(crate) fn suggest(name: &str, section: Option<Section>) -> Option<Self> {
        if name.len() > MAX_WORD {
            return None;
        }
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "port" => return Some(Self::ListenPort),
            "keepalive" => return Some(Self::PersistentKeepalive),
            "psk" | "sharedkey" => return Some(Self::PresharedKey),
            "privkey" | "secretkey" => return Some(Self::PrivateKey),
            "pubkey" => return Some(Self::PublicKey),
            "ip" | "ips" | "addr" => return Some(Self::Address),
            "nameserver" | "nameservers" => return Some(Self::Dns),
            "mark" | "firewallmark" => return Some(Self::FwMark),
            _ => {}
        }
        Self::ALL
            .into_iter()
            .map(|keyword| {
                let known = keyword.name().to_ascii_lowercase();
                (distance(&name, &known), Some(keyword.section()) != section, known.len(), keyword)
            })
            .filter(|(distance, _, length, _)| *distance <= length / 3)
            .min_by_key(|(distance, elsewhere, _, _)| (*distance, *elsewhere))
            .map(|(_, _, _, keyword)| keyword)
    }
}

/// Longer words resemble none of ours, and the time below grows with their length.
const MAX_WORD: usize = 32;

/// How many letters must be put in, taken out, exchanged or swapped with their neighbour to turn `a` into `b`
/// (optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous: Option<char> = None;
    for (i, a) in a.chars().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        let mut left = i + 1;
        row.push(left);
        let mut previous_b: Option<char> = None;
        for (j, b) in b.iter().copied().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (left + 1).min(at(&last, j + 1) + 1).min(at(&last, j) + usize::from(a != b));
            if j > 0 && previous == Some(b) && previous_b == Some(a) {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
            left = best;
            previous_b = Some(b);
        }
        before_last = core::mem::replace(&mut last, row);
        previous = Some(a);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("allowedip", "allowedips", 1),
            ("adderss", "address", 1),
            ("abc", "abc", 0),
        ] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }

    #[test]
    fn suggestions() {
        let suggest = |name, section| Keyword::suggest(name, Some(section));
        assert_eq!(suggest("AllowedIP", Section::Peer), Some(Keyword::AllowedIps));
        assert_eq!(suggest("allowed-ips", Section::Peer), Some(Keyword::AllowedIps));
        assert_eq!(suggest("PrivatKey", Section::Interface), Some(Keyword::PrivateKey));
        assert_eq!(suggest("PostUpp", Section::Interface), Some(Keyword::PostUp));
        assert_eq!(suggest("Keepalive", Section::Peer), Some(Keyword::PersistentKeepalive));
        assert_eq!(suggest("Comment", Section::Peer), None);
        assert_eq!(suggest(&"x".repeat(1000), Section::Peer), None);
        assert_eq!(Section::suggest("[interfac"), Some(Section::Interface));
        assert_eq!(Section::suggest("[peers]"), Some(Section::Peer));
        assert_eq!(Section::suggest("[wat]"), None);
        for keyword in Keyword::ALL {
            assert_eq!(Keyword::find(&keyword.name().to_uppercase()), Some(keyword));
        }
    }
}
