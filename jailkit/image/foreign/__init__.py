"""Files from elsewhere, which nothing in them can be trusted about: tars (``unpack``, ``tarball``), archives of images
(``archive``), and the names they give (``outside``)."""
