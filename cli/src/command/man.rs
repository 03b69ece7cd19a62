//! `candor man`: the manual pages, made from the same text as `--help`.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man as Page;

use crate::args::{CommandLine, Man};
use crate::exit::{Exit, Failure};
use crate::render::{counted, tell, write_text};

pub(crate) fn run(args: &Man) -> Result<Exit, Failure> {
    if let Some(folder) = &args.out {
        write(folder)?;
        return Ok(Exit::Done);
    }
    let mut page = Vec::new();
    Page::new(CommandLine::command())
        .manual("Candor")
        .render(&mut page)
        .map_err(|e| Failure::new(Exit::Failed, format!("the page could not be made: {e}")))?;
    write_text(&page)?;
    Ok(Exit::Done)
}

fn write(folder: &Path) -> Result<(), Failure> {
    let failed = |e: std::io::Error| {
        Failure::new(Exit::Failed, format!("the pages cannot be written into {}: {e}", folder.display()))
            .mend("name another folder with --out")
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut whole = CommandLine::command();
    whole.build();
    let mut waiting = vec![whole];
    let mut pages = 0;
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().cloned());
        Page::new(command).manual("Candor").generate_to(folder).map_err(failed)?;
        pages += 1;
    }
    tell(&format!("{} in {}", counted(pages, "page"), folder.display()));
    Ok(())
}
