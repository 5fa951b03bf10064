"""What a study is, and how its runs are carried out."""
