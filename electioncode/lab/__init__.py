"""Commands and experiments. They import the library; the library never imports them."""
