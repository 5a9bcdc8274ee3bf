//! The wg-quick configuration format, parsed with errors that show the line and say what would be right.
