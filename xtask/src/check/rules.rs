//! The rules that there are, as `docs/requirements/` lists them.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Everything that can be cited.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) requirements: Vec<Requirement>,
    pub(crate) rfcs: Vec<Rfc>,
}

/// A numbered requirement of RFC 9293.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Requirement {
    pub(crate) id: String,
    pub(crate) section: String,
    /// A further section that states it.
    pub(crate) also: Option<String>,
    /// What it asks for, in our words.
    pub(crate) what: String,
    #[serde(flatten)]
    pub(crate) standing: Standing,
}

/// Why nothing cites a rule, or what is to be said beside the citations.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Standing {
    /// The reason why it says nothing to us.
    pub(crate) does_not_apply: Option<String>,
    /// What is missing.
    pub(crate) not_met: Option<String>,
    /// A limit of how it is met.
    pub(crate) note: Option<String>,
}

/// An RFC that may be cited.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rfc {
    pub(crate) number: u32,
    pub(crate) title: String,
    /// Sections that have to be cited by code.
    #[serde(default)]
    pub(crate) section: Vec<Section>,
}

/// A section that matters here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Section {
    pub(crate) number: String,
    pub(crate) what: String,
    #[serde(flatten)]
    pub(crate) standing: Standing,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequirementFile {
    requirement: Vec<Requirement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RfcFile {
    rfc: Vec<Rfc>,
}

impl Rules {
    /// Reads both files.
    ///
    /// # Errors
    /// A file is missing or says something that it cannot.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = root.join("docs/requirements").join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        Self::parse(&text("rfc9293.toml")?, &text("rfcs.toml")?)
    }

    /// Reads the texts of both files.
    ///
    /// # Errors
    /// Where and why one does not parse.
    pub(crate) fn parse(requirements: &str, rfcs: &str) -> Result<Self> {
        let requirements: RequirementFile = toml::from_str(requirements).context("rfc9293.toml")?;
        let rfcs: RfcFile = toml::from_str(rfcs).context("rfcs.toml")?;
        Ok(Self { requirements: requirements.requirement, rfcs: rfcs.rfc })
    }

    pub(crate) fn requirement(&self, id: &str) -> Option<&Requirement> {
        self.requirements.iter().find(|requirement| requirement.id == id)
    }
}

impl Standing {
    /// The reason why there need not be a citation.
    pub(crate) fn excuse(&self) -> Option<&str> {
        self.does_not_apply.as_deref().or(self.not_met.as_deref())
    }
}

impl Rfc {
    pub(crate) fn section(&self, number: &str) -> Option<&Section> {
        self.section.iter().find(|section| section.number == number)
    }
}
