"""What should be: typed, validated text files. Nothing here changes anything."""
