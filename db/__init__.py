"""What is remembered: tables, migrations, queries and the file store. The only home of sqlmodel."""
