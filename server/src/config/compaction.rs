//! `[smoosh]` and its channels: when databases and indexes are compacted by themselves.

use settee_engine::compaction::{Channel, ChannelOf, Gain, Window};

use super::layers::{ConfigError, Layers};

/// The channels of `[smoosh] db_channels`, `view_channels` and `cleanup_channels`. Those for files of an older
/// format are passed over: every format is read as it is.
pub(super) fn channels(layers: &Layers) -> Result<Vec<Channel>, ConfigError> {
    let lists = [
        ("db_channels", ChannelOf::Databases),
        ("view_channels", ChannelOf::Views),
        ("cleanup_channels", ChannelOf::OldIndexes),
    ];
    let mut channels = Vec::new();
    for (key, of) in lists {
        let names = layers.get("smoosh", key).unwrap_or_default();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let section = Section { layers, section: format!("smoosh.{name}") };
            let channel = match of {
                ChannelOf::OldIndexes => Some(section.cleanup(name)?),
                _ => section.channel(name)?,
            };
            channels.extend(channel.map(|channel| Channel { of, ..channel }));
        }
    }
    Ok(channels)
}

struct Section<'l> {
    layers: &'l Layers,
    section: String,
}

impl<'l> Section<'l> {
    fn channel(&self, name: &str) -> Result<Option<Channel>, ConfigError> {
        let by_name = if name.starts_with("slack") { "slack" } else { "ratio" };
        let default = match self.text("priority").unwrap_or(by_name) {
            "upgrade" => return Ok(None),
            _ if name.starts_with("upgrade") => return Ok(None),
            "ratio" => Channel { min_priority: 5.0, ..Channel::ratio() },
            "slack" => Channel { min_priority: 16_777_216.0, ..Channel::slack() },
            other => return Err(self.wrong("priority", other, "none of ratio, slack and upgrade")),
        };
        debug_assert!(matches!(default.gain, Gain::Ratio | Gain::Slack));
        let channel = Channel {
            min_priority: self.number("min_priority", default.min_priority)?,
            max_priority: self.optional("max_priority")?,
            min_size: self.number("min_size", default.min_size)?,
            max_size: self.optional("max_size")?,
            min_changes: self.number("min_changes", default.min_changes)?,
            ..default
        };
        self.common(name, channel).map(Some)
    }

    /// A channel that takes whoever comes.
    fn cleanup(&self, name: &str) -> Result<Channel, ConfigError> {
        self.common(name, Channel::index_cleanup())
    }

    fn common(&self, name: &str, default: Channel) -> Result<Channel, ConfigError> {
        Ok(Channel {
            name: name.to_owned(),
            capacity: self.number("capacity", default.capacity)?,
            concurrency: self.number("concurrency", default.concurrency)?,
            window: self.window()?,
            ..default
        })
    }

    fn text(&self, key: &str) -> Option<&'l str> {
        self.layers.get(&self.section, key)
    }

    fn wrong(&self, key: &str, value: &str, expected: &'static str) -> ConfigError {
        let (section, key, value) = (self.section.clone(), key.to_owned(), value.to_owned());
        ConfigError::Value { section, key, value, expected }
    }

    fn number<N: std::str::FromStr>(&self, key: &str, default: N) -> Result<N, ConfigError> {
        Ok(self.optional(key)?.unwrap_or(default))
    }

    fn optional<N: std::str::FromStr>(&self, key: &str) -> Result<Option<N>, ConfigError> {
        match self.text(key) {
            None | Some("infinity") => Ok(None),
            Some(text) => {
                let number = text.parse().map_err(|_| self.wrong(key, text, "not a number"))?;
                Ok(Some(number))
            }
        }
    }

    fn window(&self) -> Result<Option<Window>, ConfigError> {
        let (from, to) = (self.minute("from")?, self.minute("to")?);
        let strict = match self.text("strict_window") {
            Some("true") => true,
            Some("false") | None => false,
            Some(other) => {
                return Err(self.wrong("strict_window", other, "neither true nor false"));
            }
        };
        Ok(match (from, to) {
            (None, None) => None,
            (from, to) => Window::new(from.unwrap_or(0), to.unwrap_or(0), strict),
        })
    }

    /// A time of day as `HH:MM`, in minutes.
    fn minute(&self, key: &str) -> Result<Option<u16>, ConfigError> {
        let Some(text) = self.text(key).filter(|text| !text.is_empty()) else { return Ok(None) };
        let parts = text.split_once(':').and_then(|(hours, minutes)| {
            Some((hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?))
        });
        match parts {
            Some((hours @ 0..24, minutes @ 0..60)) => Ok(Some(hours * 60 + minutes)),
            _ => Err(self.wrong(key, text, "not a time of day such as 23:00")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_couchdbs() {
        let channels = channels(&Layers::built_in()).unwrap();
        let views =
            |name: &str, channel| Channel { name: name.into(), of: ChannelOf::Views, ..channel };
        let expected = [
            Channel::ratio(),
            Channel::slack(),
            views("ratio_views", Channel::ratio()),
            views("slack_views", Channel::slack()),
            Channel::index_cleanup(),
        ];
        assert_eq!(channels, expected);
    }

    #[test]
    fn channels_are_read_and_nonsense_is_refused() {
        let text = "[smoosh]\ndb_channels = night, upgrade_dbs\nview_channels = ,\ncleanup_channels = ,\n\
                    [smoosh.night]\npriority = slack\n\
                    min_size = 7\nmax_priority = 9.5\nconcurrency = 3\nfrom = 23:00\nto = 04:30\n\
                    strict_window = true\n";
        let read = channels(&Layers::with(text)).unwrap();
        let expected = Channel {
            name: "night".into(),
            min_priority: 16_777_216.0,
            min_size: 7,
            max_priority: Some(9.5),
            concurrency: 3,
            window: Window::new(23 * 60, 4 * 60 + 30, true),
            ..Channel::slack()
        };
        assert_eq!(read, [expected]);
        assert!(
            channels(&Layers::with(
                "[smoosh]\ndb_channels = ,\nview_channels = ,\ncleanup_channels = ,\n"
            ))
            .unwrap()
            .is_empty()
        );
        for wrong in ["from = 25:00", "to = noon", "min_size = big", "priority = luck"] {
            let text = format!("[smoosh.ratio_dbs]\n{wrong}\n");
            assert!(channels(&Layers::with(&text)).is_err(), "{wrong}");
        }
    }
}
